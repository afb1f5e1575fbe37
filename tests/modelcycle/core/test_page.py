import pytest
from jinja2 import UndefinedError

from modelcycle.core.page import format_number, render_page
from modelcycle.serving.routes import render_markdown


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0.000"),
        (0.74159, "0.742"),
        (-0.5, "-0.500"),
        (0.001, "0.001"),
        (0.00012345, "0.0001234"),
        (999.9, "999.900"),
        (1000, "1000"),
        (123456, "1.235e+05"),
    ],
)
def test_a_number_is_as_long_as_people_read_it(number, text):
    assert format_number(number) == text


def test_markdown_becomes_html_and_what_is_html_in_it_is_only_shown():
    html = render_markdown("# A title\n<!-- for\nauthors -->\n*so* <script>")
    assert html == "<h1>A title</h1>\n<p><em>so</em> &lt;script&gt;</p>\n"


def test_a_page_escapes_what_it_shows_and_misses_what_it_is_not_given(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("{{ project }} {{ name }} {{ 2 | short }}")
    shown = render_page(page, "flight delays", name="<b>")
    assert shown == "flight delays &lt;b&gt; 2.000"
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render_page(page, "flight delays")
    page.write_text("{% include 'style.css' %}")
    assert render_page(page, "flight delays").startswith("body {")
