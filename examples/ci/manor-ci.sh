#!/bin/sh
# What a pipeline does with a migration directory. Copy it into your repository.
#
#   manor-ci.sh lint      on a pull request: says what the new files would do
#   manor-ci.sh push      on the main branch: publishes the directory as a release
#   manor-ci.sh plan      shows what a rollout of that release would do, and keeps it
#   manor-ci.sh rollout   starts what was planned, and waits; without a plan, the release
#   manor-ci.sh deploy    push, plan and rollout
#
# Reads from the environment:
#
#   MIGRATIONS    the migration directory (default: migrations)
#   BASE          lint: the branch that tenants run (default: origin/main)
#   SINCE         lint: the version that tenants are at (default: the last one on BASE)
#   FAIL_ON       lint: error, warning or never (default: error)
#   SARIF         lint: file to write besides (default: manor.sarif)
#   RELEASE       name of the release (default: its last version and a hash of its content)
#   PLAN          plan: file to write as JSON; rollout: the one to start (default: manor-plan.json)
#   ROLLOUT_ARGS  plan, rollout: further arguments, such as '-l ring=canary --on-error pause'
#   JUNIT         rollout: file to write a test for each tenant to (default: manor-junit.xml)
#   SUMMARY       rollout: file to write Markdown to (default: manor-summary.md)
#   MANOR_CATALOG and MANOR_KEY_FILE, or MANOR_SERVER: where the control plane is; not for lint
#
# Exit codes are those of manor: 0 done, 1 error (lint: something was found),
# 2 usage, 3 some targets failed, 4 paused, 5 rolled back, 6 refused or conflict.
set -eu

MIGRATIONS=${MIGRATIONS:-migrations}
ROLLOUT_ARGS=${ROLLOUT_ARGS:-}

# last_version reads names of files and prints the last version among them.
last_version() {
    sed -n 's|^\(.*/\)*\([0-9][0-9]*\)[^/]*\.sql$|\2|p' | LC_ALL=C sort | tail -n 1
}

# since prints the last version on the branch that tenants run; nothing for a
# directory that is new there.
since() {
    base=${BASE:-origin/main}
    if ! git rev-parse --verify --quiet "$base^{commit}" >/dev/null; then
        say "git does not know $base: fetch it, or give BASE or SINCE"
        return 2
    fi
    git ls-tree --name-only "$base" -- "$MIGRATIONS/" | last_version
}

# release prints a name that the same files always have, so that a pipeline may
# run twice.
release() {
    if [ -n "${RELEASE:-}" ]; then
        echo "$RELEASE"
        return
    fi
    content=$({ cat "$MIGRATIONS/atlas.sum"; cat "$MIGRATIONS"/down/*.sql 2>/dev/null || :; } | git hash-object --stdin | cut -c 1-12)
    echo "$(ls "$MIGRATIONS" | last_version)-$content"
}

lint() {
    [ -n "${SINCE+given}" ] || SINCE=$(since)
    manor release lint "$MIGRATIONS" ${SINCE:+--since "$SINCE"} --fail-on "${FAIL_ON:-error}" --sarif "${SARIF:-manor.sarif}"
}

push() {
    manor release push "$MIGRATIONS" --name "$(release)"
}

# plan keeps a plan under an id, which a later job starts, and shows it.
plan() {
    # ROLLOUT_ARGS is several words.
    # shellcheck disable=SC2086
    manor rollout plan --release "$(release)" $ROLLOUT_ARGS -o json >"${PLAN:-manor-plan.json}"
    # shellcheck disable=SC2086
    manor rollout start --release "$(release)" $ROLLOUT_ARGS --dry-run
}

# planned prints the id of the plan; nothing where there is none. Where jq is
# installed: jq -r .id
planned() {
    sed -n 's/^  "id": "\([^"]*\)",\{0,1\}$/\1/p' "${PLAN:-manor-plan.json}" 2>/dev/null || :
}

# rollout starts a plan as it was shown: that is refused if the fleet has moved
# since. Plan again then.
rollout() {
    code=0
    id=$(planned)
    if [ -n "$id" ]; then
        set -- --plan "$id"
    else
        # shellcheck disable=SC2086
        set -- --release "$(release)" $ROLLOUT_ARGS
    fi
    manor rollout start "$@" --wait --junit "${JUNIT:-manor-junit.xml}" --summary "${SUMMARY:-manor-summary.md}" || code=$?
    verdict "$code"
    return "$code"
}

# verdict says what an exit code of a rollout asks of people.
verdict() {
    case $1 in
    0) say "Every tenant selected is at the release." ;;
    3) say "Some tenants failed, and stay at the version before. Mend what stands above, then: manor rollout retry ID" ;;
    4) say "The rollout is paused. Go on: manor rollout resume ID. Take it back: manor rollout rollback ID" ;;
    5) say "The rollout was rolled back: its tenants are where they were." ;;
    6) say "Refused: nothing was changed. The reason stands above." ;;
    130) say "Interrupted. Tenants in hand were finished; go on: manor rollout resume ID" ;;
    *) say "The rollout could not be started or followed. Look: manor rollout list" ;;
    esac
}

say() { echo "manor-ci: $*" >&2; }

case ${1:-} in
lint | push | plan | rollout) "$1" ;;
deploy)
    push
    plan
    rollout
    ;;
*)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "$0" >&2
    exit 2
    ;;
esac
