import re

from modelcycle.core.plots import make_axes, render_svg


def draw() -> str:
    figure, plot = make_axes(2)
    plot.plot([0, 1], [0, 1], label="price in $ or $$")
    plot.legend()
    return render_svg(figure, 'A "line"')


def test_a_plot_is_the_same_text_each_time_and_says_what_it_shows():
    assert draw() == draw()
    assert draw().startswith('<svg role="img" aria-label="A &#34;line&#34;"')
    assert draw().count("role=") == 1
    assert ">price in $ or $$</text>" in draw()
    assert not re.search(r"<dc:date>|<\?xml", draw())


def test_an_open_plot_has_no_frame_at_its_left():
    for left_open, visible in ((False, ["left", "bottom"]), (True, ["bottom"])):
        figure, plot = make_axes(3, left_open)
        assert [name for name, spine in plot.spines.items() if spine.get_visible()] == visible
        assert figure.get_size_inches().tolist() == [7, 3]
