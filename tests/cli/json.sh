# --json on every verb is one JSON value; --jsonl of a run ends with run.end whatever happens.
. "${0%/*}/lib.sh"

note 'every verb'
run 0 create demo --json && json_valid
run 0 run demo hello --json && json_valid
number=$(scratch "select json_extract('$(quoted out)', '\$.run')")
for list in agents sessions runs tools memory cache messages steps calls stages versions; do
    run 0 list $list --json && json_valid
    json_type '$' array
    run 0 list $list --jsonl
done
run 0 show demo --json && json_valid
run 0 show "$number" --json && json_valid
run 0 edit demo -s new --json && json_valid
run 0 logs "$number" --json && json_valid
run 0 tool add t --json --effect pure -- true && json_valid
run 0 tool ls --json && json_valid
run 0 tool show t --json && json_valid
run 0 tool test t --json && json_valid
run 0 tool rm t -y --json && json_valid
run 0 memory set demo k v --json && json_valid
run 0 memory ls demo --json && json_valid
run 0 memory search demo v --json && json_valid
run 0 memory rm demo k -y --json && json_valid
run 0 session ls --json && json_valid
run 0 session show 1 --json && json_valid
run 0 session rm 1 -y --json && json_valid
run 0 resume --all --json && json_valid
run 0 db path --json && json_valid
run 0 db check --json && json_valid
run 0 db backup copy.db --json && json_valid
run 0 db migrate --json && json_valid
run 0 sql 'select 1 as one' --json && json_valid
"$AGENTCTL" doctor --json >out 2>err
json_valid
run 0 version --json && json_valid
run 0 rm demo -y --json && json_valid

note 'the result of a run'
run 0 create demo
run 0 run demo 'quotes " and \ and ünïcödé 🙂' --json
json '$.type' run.end
json '$.agent' demo
json '$.status' succeeded
json_type '$.error' null
json_type '$.run' integer
json_type '$.session' integer
json_type '$.input_tokens' integer
json_type '$.wall_ms' integer
json '$.attempts' 1
json '$.steps' 1
out_has 'ünïcödé 🙂'

note 'lines'
run 0 run demo hello --jsonl -o chunks=3
head -n 1 out >first
json_in first '$.type' run.start
grep -c '"type":"text.delta"' out >deltas
[ "$(cat deltas)" -ge 2 ] || bad 'there are no deltas'
grep -q '"type":"message.end"' out || bad 'there is no message.end'
last_line
json_in last '$.type' run.end
json_in last '$.status' succeeded

note 'the last line, whatever happens'
for case in 'nobody hi' 'demo hi --bogus' "demo ''" 'demo @nowhere' 'demo hi -o chunks=x' 'demo hi --timeout x'; do
    eval "\"\$AGENTCTL\" run $case --jsonl" >out 2>err </dev/null && bad "run $case succeeded"
    last_line
    json_in last '$.type' run.end
    json_in last '$.status' failed
    json_type_last=$(scratch "select json_type('$(quoted last)', '\$.error.message')")
    [ "$json_type_last" = text ] || bad "run $case: there is no message"
    grep -q '^agentctl: error: ' err || bad "run $case: no error on stderr"
done
"$AGENTCTL" --db "$dir/no/folder" run demo hi --jsonl >out 2>err
last_line
json_in last '$.type' run.end
run 7 run demo hi -o fail=500 -o retries=0 --jsonl
last_line
json_in last '$.status' failed
json_in last '$.error.detail' 500

note 'views and lists are the same'
run 0 list runs --json
mv out list.json
run 0 sql 'select * from v_runs' --json
cmp -s out list.json || bad 'list runs --json is not v_runs'
