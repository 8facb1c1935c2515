# sql: reads, and only reads.
. "${0%/*}/lib.sh"

run 0 create demo
run 0 run demo hello

note 'JSON in a pipe'
run 0 sql "select 1 as one, 2.5 as real, 'x\"y' as text, null as absent, x'00ff' as bytes"
json '$[0].one' 1
json '$[0].real' 2.5
json '$[0].text' 'x"y'
json_type '$[0].absent' null
json '$[0].bytes' 00ff

note 'from a file, from stdin'
printf 'select name from v_agents' >query.sql
run 0 sql @query.sql
json '$[0].name' demo
run_in 0 'select 42 as answer' sql -
json '$[0].answer' 42

note 'several statements, no rows'
run 0 sql 'select 1 as a; select 2 as b'
json '$[1].b' 2
run 0 sql 'select 1 where 0'
json_type '$' array

note 'a table'
run 0 sql --table "select 1 as id, 'text' as name"
out_is 'id  name
 1  text'

note 'the views'
for view in v_agents v_sessions v_messages v_runs v_steps v_tool_calls v_stage_memory v_memory v_cache; do
    run 0 sql "select * from $view"
done

note 'nothing is written'
before=$(cksum <"$AGENTCTL_DB")
for statement in 'delete from agent' 'create table t (x)' 'update agent set name = 1' 'drop view v_runs' \
    'pragma user_version = 7' "attach 'x.db' as x" 'vacuum' 'begin immediate'; do
    "$AGENTCTL" sql "$statement" >out 2>err && bad "'$statement' was run"
    grep -q '^agentctl: error: ' err || bad "'$statement' has no error"
done
[ "$before" = "$(cksum <"$AGENTCTL_DB")" ] || bad 'the file was changed'
[ -e x.db ] && bad 'a file was attached'

note 'mistakes'
"$AGENTCTL" sql 'selct 1' >out 2>err && bad 'a wrong statement was run'
err_has selct
out_empty
