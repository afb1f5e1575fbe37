import pytest

from modelcycle.release.rollback import earlier_champion


@pytest.mark.parametrize(
    ("events", "earlier"),
    [
        ("", None),
        ("1 promoted", None),
        ("1 promoted, 2 promoted", "1"),
        ("1 promoted, 2 rejected, 3 promoted", "1"),
        ("1 promoted, 2 promoted, 1 rolled back", None),
        ("1 promoted, 2 promoted, 3 promoted, 2 rolled back", "1"),
        ("1 promoted, 2 promoted, 1 rolled back, 3 promoted", "1"),
        ("1 promoted, 2 rejected, 2 rolled back", "1"),  # forced
    ],
)
def test_the_way_back_leads_past_rollbacks_and_rejections(events, earlier):
    entries = [
        dict(zip(("version", "event"), entry.split(" ", 1), strict=True)) for entry in events.split(", ") if entry
    ]
    assert earlier_champion(entries) == earlier
