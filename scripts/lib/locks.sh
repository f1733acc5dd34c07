# Functions that compile the lock files from pyproject.toml. Needs environment.sh and a complete .venv.

LOCKS=(requirements.txt requirements-scale.txt requirements-test.txt)

compile_lock() { # <lock file> <options of uv> …
    local lock=$1
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --no-annotate --no-header --output-file "$lock" pyproject.toml --extra build "$@"
}

# Write every lock into a folder. A lock that is already there keeps its versions.
compile_locks() { # <folder> <options of uv> …
    local folder=$1
    shift
    compile_lock "$folder/requirements-test.txt" --extra scale --extra test "$@"
    # The smaller locks pin the versions that the tests run with.
    compile_lock "$folder/requirements-scale.txt" --extra scale --constraint "$folder/requirements-test.txt" "$@"
    compile_lock "$folder/requirements.txt" --constraint "$folder/requirements-test.txt" "$@"
}

# Compare the locks with those that pyproject.toml gives now.
check_locks() {
    local folder lock
    folder=$(mktemp -d "$scratch/locks.XXXXXX")
    cp "${LOCKS[@]}" "$folder"
    compile_locks "$folder"
    for lock in "${LOCKS[@]}"; do
        diff -u "$lock" "$folder/$lock"
    done
}
