# The file: where it is, whether it is whole, a copy of it.
. "${0%/*}/lib.sh"

note 'which file is used'
run 0 create demo
run 0 db path
out_is "$AGENTCTL_DB"
run 0 --db "$AGENTCTL_DB" db path --json
json '$.from' --db
mkdir elsewhere
(cd elsewhere && unset AGENTCTL_DB && "$AGENTCTL" --db agent.db create local) 2>err || bad 'create in a folder'
(cd elsewhere && unset AGENTCTL_DB && "$AGENTCTL" db path) >out 2>err
case $(cat out) in */elsewhere/agent.db) ;; *) bad './agent.db is not used where it is there' ;; esac

note 'the default place is made'
(unset AGENTCTL_DB && "$AGENTCTL" create home) 2>err || bad 'create in the default place'
[ -f "$HOME/.local/share/agentctl/agent.db" ] || bad 'the default place has no file'
(unset AGENTCTL_DB && XDG_DATA_HOME=$dir/xdg "$AGENTCTL" create home) 2>err
[ -f "$dir/xdg/agentctl/agent.db" ] || bad 'XDG_DATA_HOME is not used'

note 'checked'
run 0 run demo 'remember this' -S talk
run 0 db check
out_is ok

note 'a copy is a working file'
run 0 db backup "$dir/copy.db"
run 0 --db "$dir/copy.db" db check
run 0 --db "$dir/copy.db" run demo 'what was it?' -S talk
out_has 'remember this'
[ "$(stat -c %a "$dir/copy.db")" = 600 ] || bad 'the copy is not private'
run 2 db backup "$dir/copy.db"
says copy.db

note 'a plain copy of a file that is at rest'
cp "$AGENTCTL_DB" plain.db
run 0 --db plain.db session show demo talk
out_has 'remember this'

note 'the schema'
run 0 db migrate
run 0 db migrate --json
json_type '$.schema_version' integer

note 'the doctor'
"$AGENTCTL" doctor >out 2>err
code=$?
[ "$code" = 0 ] || bad "doctor answers $code"
out_has 'sqlite_version'
out_has "$AGENTCTL_DB"
OPENAI_API_KEY=sk-very-secret "$AGENTCTL" doctor >out 2>err
out_has 'OPENAI_API_KEY'
out_lacks 'sk-very-secret'
chmod 644 "$AGENTCTL_DB"
run 1 doctor
out_has 'chmod 600'
run 3 --db nowhere.db doctor
out_has 'agentctl'
