# Completion scripts are ones that their shell can read, and know every verb and option.
. "${0%/*}/lib.sh"

run 0 create demo
run 0 tool add weather --effect pure -- true

for shell in bash zsh fish; do
    note "$shell"
    run 0 completion $shell
    err_empty
    cp out "agentctl.$shell"
    for word in create run list tool memory session sql doctor completion; do
        out_has "$word"
    done
    out_has timeout
    if command -v $shell >/dev/null; then
        $shell -n "agentctl.$shell" 2>err || bad "$shell cannot read it"
    fi
done
run 2 completion tcsh
says tcsh bash

if command -v bash >/dev/null; then
    note 'bash completes'
    mkdir bin && ln -s "$AGENTCTL" bin/agentctl
    cat >complete.bash <<'END'
source ./agentctl.bash
PATH=$PWD/bin:$PATH
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_agentctl
printf '%s\n' "${COMPREPLY[@]}"
END
    completes() {
        expected=$1
        shift
        bash complete.bash "$@" >out 2>err
        grep -qxF -e "$expected" out || bad "'$*' is not completed to $expected"
    }
    completes create agentctl cr
    completes tool agentctl to
    completes add agentctl tool a
    completes demo agentctl run d
    completes demo agentctl --db "$AGENTCTL_DB" show ''
    completes weather agentctl tool show w
    completes --timeout agentctl run demo --ti
    completes --json agentctl run --js
    completes high agentctl run demo -p ''
    completes sessions agentctl list s
    completes weather agentctl create x -t w
    completes idempotent agentctl tool add x --effect i
fi
