# Functions for scripts that run named steps, report each one, and fail if one of them fails. Needs environment.sh.

steps=() # the steps to run; every step if it is empty
failed=0
scratch=$(mktemp -d)
pids=()
# Background processes do not get Ctrl-C.
trap 'kill ${pids[@]+"${pids[@]}"} 2> /dev/null || true; rm -rf "$scratch"' EXIT

# Succeed if the arguments of the script select a step.
selects() { # <step>
    local step
    [ ${#steps[@]} -gt 0 ] || return 0
    for step in "${steps[@]}"; do
        [ "$step" != "$1" ] || return 0
    done
    return 1
}

# Report a step that has ended, with its output if it failed.
report() { # <step> <exit status> <what to do if it failed>
    if [ "$2" = 0 ]; then
        printf '%-12s ok\n' "$1"
        return
    fi
    failed=1
    cat "$scratch/$1"
    printf '%s failed: %s\n' "$1" "$3"
}
