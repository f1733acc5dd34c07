# Functions that make .venv with the packages that a lock file pins. Sourcing this file changes to the project's folder.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Print a sentence and exit.
stop() { # <sentence> [exit status]
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}

# Print the comment at the top of a script, which is the text of --help.
show_help() { # <script>
    sed -n -e 1d -e '/^#/!q' -e 's/^# \{0,1\}//p' "$1"
}

# Make .venv hold the packages of a lock file. Return at once if it does already.
make_environment() { # <lock file>
    local lock=$1 covered name
    if is_installed "$lock"; then return; fi
    find_python
    trap 'stop "Stopped before all packages were installed; the next start installs them from the beginning." 130' INT
    hold_installation
    # Another start may have installed them in the meantime.
    if ! is_installed "$lock"; then
        # A stopped installation leaves packages that pip takes for complete.
        if [ -e .venv/incomplete ] || ! is_venv_usable; then
            check_space "$lock"
            echo "Installing packages into .venv, about a minute the first time …"
            quietly rm -rf .venv
            mark_incomplete
            # In two steps, because venv hides why pip cannot be installed.
            quietly "$python" -m venv --without-pip .venv
            quietly .venv/bin/python -m ensurepip --default-pip
        else
            echo "Installing changed packages into .venv …"
        fi
        mark_incomplete
        rm -f .venv/installed-*
        install "$lock"
        # The locks of one commit pin the same versions, so the packages of a larger lock include those of a smaller one.
        case $lock in
            requirements-test.txt) covered='requirements-test.txt requirements-scale.txt requirements.txt' ;;
            requirements-scale.txt) covered='requirements-scale.txt requirements.txt' ;;
            *) covered=$lock ;;
        esac
        for name in $covered; do
            quietly cp "$name" ".venv/installed-$name"
        done
        rm .venv/incomplete
    fi
    exec 9>&-
    trap - INT
}

is_installed() { # <lock file>
    [ ! -e .venv/incomplete ] && cmp -s "$1" ".venv/installed-$1" && is_venv_usable
}

# A virtual environment survives neither a move of its folder nor the removal of its Python.
is_venv_usable() {
    local version
    grep -qs -F -- " $(pwd -P)/.venv" .venv/pyvenv.cfg || return 1
    version=$(.venv/bin/python -c 'import sys; print(sys.version)' 2> /dev/null) || return 1
    [ -z "${PYTHON:-}" ] || [ "$version" = "$("$PYTHON" -c 'import sys; print(sys.version)' 2> /dev/null)" ]
}

mark_incomplete() {
    quietly mkdir -p .venv
    quietly touch .venv/incomplete
}

install() { # <lock file>
    local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --retries "${PIP_RETRIES:-2}")
    # These settings of pip install elsewhere.
    unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT
    quietly "${pip[@]}" --require-hashes --only-binary :all: -r "$1"
    quietly "${pip[@]}" --no-deps --no-build-isolation -e .
}

# Prints what the running Python lacks. Python 2 can read this too.
FIND_LACK='
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 11) <= tuple(sys.version_info[:2]) <= (3, 14):
    print("is Python " + version)
    sys.exit()
for module in ("venv", "ensurepip", "ssl", "sqlite3"):
    try:
        __import__(module)
    except ImportError:
        package = " (Debian has it in python%s-venv)" % version if module in ("venv", "ensurepip") else ""
        print("has no module " + module + package)
        sys.exit()
'

# Set `python` to the Python that PYTHON names, or to the first on the PATH that can run Packshot.
find_python() {
    local candidate lack reason=
    local candidates=(python3.14 python3.13 python3.12 python3.11 python3 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        # A name on the PATH may be a pyenv shim that starts no Python.
        lack=$("$candidate" -c "$FIND_LACK" 2> /dev/null) || continue
        if [ -z "$lack" ]; then
            python=$candidate
            return
        fi
        reason=${reason:-$candidate $lack}
    done
    [ -z "${PYTHON:-}" ] || reason=${reason:-PYTHON names $PYTHON, which does not start}
    stop "Packshot needs Python 3.11 to 3.14, but ${reason:-none is on the PATH}: install one, or set PYTHON to its path."
}

# Hold the lock of .venv as file descriptor 9.
hold_installation() {
    local status=0
    quietly touch .venv.lock
    exec 9>> .venv.lock
    "$python" -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(75)
' || status=$?
    [ $status != 75 ] || stop "Another start installs packages into $PWD/.venv: wait until it is done, then start again." 4
    [ $status = 0 ] || exit $status
}

check_space() { # <lock file>
    local needed=400 free
    [ "$1" != requirements-test.txt ] || needed=1000
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$needed" ] ||
        stop "The packages need about $needed MB, but the disk of $PWD has $free MB free: free some space, then start again."
}

# Run a command and show its output only if it fails for an unknown reason.
quietly() { # <command> …
    local output
    if output=$(unset LC_ALL && LC_MESSAGES=C "$@" 2>&1); then return; fi
    case $output in
        *'No space left on device'* | *'Disk quota exceeded'*)
            stop "The disk of $PWD, of ${TMPDIR:-/tmp} or of pip's cache is full: free some space, then start again." ;;
        *'Read-only file system'*)
            stop "The disk of $PWD is read-only, but packages are installed there: use a copy on a disk that can be written." ;;
        *'Permission denied'* | *'Operation not permitted'*)
            stop "The user $(id -un) may not write to $PWD/.venv: use a copy of your own, or start as the user who made it." ;;
        *NewConnectionError* | *ConnectTimeoutError* | *ReadTimeoutError* | *ProxyError* | *'Read timed out'* | \
            *ProtocolError* | *'connection broken'*)
            stop "pip cannot reach its package index: connect to the network or set PIP_INDEX_URL, then start again." ;;
    esac
    printf '%s\n' "$output" >&2
    stop "The packages could not be installed; the lines above say why. Correct that, then start again."
}
