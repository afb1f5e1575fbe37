#!/bin/sh
# Push the branch that `make update PROPOSE=1` has left in reports/update.bundle, and open a request to merge it where the
# provider can; where lines have to be decided on, a draft with a label. It runs where CI may push, and runs nothing that the
# bundle brings.
set -eu
bundle=reports/update.bundle
[ -s "$bundle" ] || { echo "propose   nothing new"; exit 0; }
branch=$(git bundle list-heads "$bundle" | sed -n 's|^[0-9a-f]* refs/heads/\(update-[0-9A-Za-z._-]*\)$|\1|p')
[ -n "$branch" ] || { echo "error: $bundle has no branch update-RELEASE; make update PROPOSE=1 writes it." >&2; exit 1; }
if git ls-remote --exit-code origin "refs/heads/$branch" >/dev/null; then
  echo "propose   proposed already: $branch"
  exit 0
fi
git fetch --quiet "$bundle" "+refs/heads/$branch:refs/heads/$branch"
title=$(git log -1 --format=%s "$branch" --)
body=$(git log -1 --format=%b "$branch" --)
draft=
case $title in *": conflicts to be resolved") draft=1 title=${title%": conflicts to be resolved"} ;; esac

set --
if [ -n "${GITLAB_CI:-}" ]; then
  set -- --push-option=merge_request.create "--push-option=merge_request.title=${draft:+Draft: }$title" \
    ${draft:+--push-option=merge_request.label=conflict}
fi
git push --quiet "$@" origin "refs/heads/$branch:refs/heads/$branch"
if [ -n "${GITHUB_ACTIONS:-}" ]; then
  { [ -z "$draft" ] || gh label create conflict --force; } &&
    gh pr create --head "$branch" --title "$title" --body "${body:-No conflicts.}" ${draft:+--draft --label conflict} || {
    git push --quiet origin --delete "$branch" # or it would count as proposed the next time
    exit 1
  }
fi
echo "propose   for review${body:+: $body}: $branch"
