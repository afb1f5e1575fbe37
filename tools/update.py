"""Bring in a newer state of the template, or other answers to its questions, and keep what the team has changed.

    make update        in a generated repository, fetches the template and runs this file

.cruft.json says where the template is, at which commit, and with which answers the repository was made; cruft reads it
as well. The template is rendered twice, as it was and as it is to be, and the difference is a commit that git picks: it
merges as always, follows files that were moved, and stops at a conflict in its usual way. The work is done by the
updater of the version that is updated to.

Exit status: 1 for what a person can correct, 3 for a conflict; of --check 1 if something is newer, 2 where that is not
known.
"""

import os
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from updater import merge, migrations, preview
from updater import template as templates
from updater.git import CALLERS_VARIABLES, Conflict, InputError, git, mask_passwords, report

TEMPLATE = Path(__file__).resolve().parents[1]
BUNDLE = Path("reports/update.bundle")


def parse(words: list[str]) -> Namespace:
    """Read the words of the command line."""
    parser = ArgumentParser("update", description=__doc__.split("\n")[0])
    parser.add_argument("to", nargs="?", default="", help="release, branch or commit; the newest release")
    parser.add_argument("--set", action="append", default=[], metavar="QUESTION=ANSWER", help="another answer")
    parser.add_argument("--check", action="store_true", help="only say whether there is something newer")
    parser.add_argument("--preview", action="store_true", help="only say what would change")
    parser.add_argument("--propose", action="store_true", help=f"leave it as a branch in {BUNDLE}, to be pushed")
    parser.add_argument("--commit", default="", help="what `to` stands for, once that is known")
    return parser.parse_args(words)


def update(asked: Namespace, template: Path) -> int:
    """Find what to update to and merge it, with the updater of that version. Returns the exit status.

    With other answers alone the version stays. Raises InputError, with nothing changed, when it can't begin; Conflict
    where a person has to decide.
    """
    if not asked.preview:
        merge.require_no_changes()
    if asked.propose:
        BUNDLE.parent.mkdir(exist_ok=True)
        BUNDLE.write_bytes(b"")  # nothing to propose yet
    record, answers = templates.read_record(template), dict(pair.partition("=")[::2] for pair in asked.set)
    known = templates.name_commit(template, record.commit)
    target = asked.to or (known if answers else templates.find_newer(template, record.commit))
    if not target:
        report("update", templates.describe_newest(template))
        return 0
    asked.to = target
    commit = asked.commit or templates.find_target(template, record, target, answers)
    with tempfile.TemporaryDirectory() as folder:
        updater = "" if asked.commit else find_updater(template, commit, Path(folder) / "updater")
        if updater:
            flags = [f"--{name}" for name in ("preview", "propose") if getattr(asked, name)]
            words = [target, "--commit", commit, *flags, *(f"--set={pair}" for pair in asked.set)]
            return subprocess.run([sys.executable, updater, *words], check=False).returncode
        bring(asked, template, record, commit, templates.describe(template, target, commit), Path(folder))
    return 0


def find_updater(template: Path, commit: str, folder: Path) -> str | Path:
    """Fetch the updater of another commit of the template; empty where it is the one of here, or there is none."""
    is_here = git("-C", template, "rev-parse", "HEAD") == commit
    if is_here or not git("-C", template, "ls-tree", "--name-only", commit, "tools/update.py"):
        return ""
    return templates.check_out(template, commit, folder) / "tools/update.py"


def bring(asked: Namespace, template: Path, record: templates.Record, commit: str, name: str, folder: Path) -> None:
    """Render both states, and merge their difference, propose it, or say what it would change."""
    print(f"rendering the template as it was and as {name} has it", file=sys.stderr)
    answers = dict(pair.partition("=")[::2] for pair in asked.set)
    before, after = templates.render_both(template, record, answers, commit, asked.to, folder)
    team_files = templates.list_team_files(before)  # a new page among them is brought in
    title = f"Update the template to {name}"
    if commit == record.commit and answers:
        title, team_files = "Render the template", templates.merge_into_team_files(team_files, before, after)
    message = " with ".join([title, *filter(None, [", ".join(asked.set)])])
    scripts, is_trial = migrations.list_new(template, record.commit, commit), asked.preview or asked.propose
    copy = merge.copy_repository(folder / "copy") if is_trial or scripts else Path()
    source = templates.check_out(template, commit, folder / "migrations") if scripts else Path()
    migrated = migrations.run_scripts(source, scripts, copy, f"Migrate to the template's {name}")
    place = copy if is_trial else Path()
    base = templates.commit_rendering(place, before, team_files, "The template as it was")
    new = templates.commit_rendering(place, after, team_files, message, base)
    if not git("-C", place, "diff", "--name-only", base, new) and not migrated:
        return report("update", f"{name} would change nothing")
    if stale := templates.list_stale_files(team_files, before, after):
        report("update", "yours and left as they are, changed in the template:", ", ".join(stale))
    if asked.preview:
        return preview.tell(copy, new, message)
    if asked.propose:
        return propose(copy, new, message, re.sub(r"[^\w.]+", "-", "-".join(["update", name, *asked.set])).strip("-"))
    merge.require_free_paths(base, new)
    if migrated:
        git("fetch", "--quiet", copy, migrated)
    start = git("rev-parse", "HEAD")
    merge.pick_here([*filter(None, [migrated]), new])
    report("update", f"{message}: {git('diff', '--shortstat', start, 'HEAD')}")
    report("", f"look at it with git show{' HEAD^ HEAD' if migrated else ''}, then: make cycle test")


def propose(copy: Path, commit: str, message: str, branch: str) -> None:
    """Merge in a copy and leave the branch in a bundle, which `make propose` pushes; a conflict with git's marks."""
    start = git("rev-parse", "HEAD")
    if conflict := merge.pick(copy, [commit]):
        words = f"{message}: conflicts to be resolved\n\n{conflict}"
        git("-C", copy, "commit", "--quiet", "--no-verify", "--all", "--message", words)
    git("-C", copy, "branch", branch)
    git("-C", copy, "bundle", "create", "--quiet", BUNDLE.resolve(), f"{start}..{branch}")
    report("update", f"for review{': ' + conflict if conflict else ''}", branch)


def check(template: Path) -> int:
    """Say whether the template has something newer. Returns the exit status, 1 if it has, 2 if nobody can tell."""
    try:
        newest = templates.find_newer(template, templates.read_record(template).commit)
    except (InputError, OSError) as error:
        print(f"error: {mask_passwords(str(error))}", file=sys.stderr)
        return 2
    print(f"The template's {newest} is newer: make update" if newest else templates.describe_newest(template))
    return 1 if newest else 0


def main(words: list[str], template: Path = TEMPLATE) -> int:
    """Run the command. Returns the exit status."""
    for name in CALLERS_VARIABLES:
        os.environ.pop(name, None)
    asked = parse(words)
    try:
        return check(template) if asked.check else update(asked, template)
    except Conflict as conflict:
        print(f"conflict: {conflict}", file=sys.stderr)
        return 3
    except (InputError, OSError) as error:
        print(f"error: {mask_passwords(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the next `make update` says what is left of it", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
