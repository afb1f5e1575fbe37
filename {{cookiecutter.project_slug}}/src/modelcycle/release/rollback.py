"""Make an earlier version the champion again."""

from modelcycle.core.errors import InputError
from modelcycle.core.output import report_line
from modelcycle.tracking import store
from modelcycle.versions import registry
from modelcycle.versions.bundle import load_version
from modelcycle.versions.ledger import CHAMPION_EVENTS, LedgerEntry, champion_number, lock_decisions, read_ledger


def find_previous_champion(entries: list[LedgerEntry]) -> str | None:
    """Find by the ledger which version was champion before the present one, going back past rollbacks."""
    champions: list[str] = []
    for entry in entries:
        if entry.event == "rolled back" and entry.version in champions:
            champions = champions[: champions.index(entry.version) + 1]
        elif entry.event in CHAMPION_EVENTS:
            champions.append(entry.version)
    return champions[-2] if len(champions) > 1 else None


def rollback(version: str | None, reason: str, force: bool) -> None:
    """Make `version`, or the previous champion, the champion again and enter the reason into the ledger.

    Raises InputError when there is no such version, or its files were changed; and unless forced, when the gate has not
    promoted it or it does not answer as it did when it was released.
    """
    client = store.connect()
    with lock_decisions():
        entries = read_ledger(client)
        current = champion_number(entries)
        name = version or find_previous_champion(entries)
        if current is None or name is None:
            raise InputError("There is no earlier champion to go back to; `release --history` shows what there was.")
        target = registry.find_version(client, name)
        number = target.number
        if number == current:
            raise InputError(f"Version {number} is the champion already.")
        if not force and not any((entry.version, entry.event) == (number, "promoted") for entry in entries):
            raise InputError(f"The gate has not promoted version {number}; add --force if it has to be all the same.")
        bundle = load_version(client, target)  # refuses files that were changed
        if not force:
            bundle.require_same_answers()
        registry.record_decision(client, "rolled back", number, commit=target.commit, replaced=current, reason=reason)
        registry.require_champion(client, number)
    report_line("rollback", f"version {number} is the champion, {current} was before")
