import pytest

from modelcycle.release.rollback import find_previous_champion
from modelcycle.tracking.ledger import LedgerEntry


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
    decisions = [entry.split(" ", 1) for entry in events.split(", ") if entry]
    entries = [LedgerEntry(event, version, by="T", commit="c", at=0) for version, event in decisions]
    assert find_previous_champion(entries) == earlier
