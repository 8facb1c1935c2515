# Tools: what is builtin, commands that are added, and a model that calls them.
. "${0%/*}/lib.sh"

run 0 create demo

note 'builtin'
run 0 tool ls --names
out_has calc
out_has now
run 0 tool test calc '{"expression": "17*23"}'
out_is 391
run 0 tool test calc '{"expression": "17*23"}' --json
json '$.status' succeeded
json '$.text' 391
run 0 run demo '/tool calc {"expression": "17*23"}'
out_has 391
run 0 run demo '/tool calc {"expression": "6*7"}' --jsonl
grep -q '"type":"tool.start".*"tool":"calc".*"arguments":{"expression":"6\*7"}' out || bad 'no tool.start'
grep -q '"type":"tool.end".*"text":"42"' out || bad 'no tool.end'

note 'a command'
run 0 tool add greet --exec "sh -c 'read -r line; echo \"got \$line\"'" --effect pure --description 'Greets'
run 0 tool test greet '{"name": "Ada"}'
out_is 'got {"name": "Ada"}'
run 0 tool show greet --json
json '$.name' greet
json '$.kind' command
json '$.effect' pure
run 2 tool add greet --exec true
says greet --replace
run 0 tool add greet --replace -- sh -c 'echo "$1 $AGENT_CALL_ID"' sh 'two words'
run 0 tool test greet
out_has 'two words'

note 'the environment of a tool'
run 0 tool add env --effect pure -- env
OPENAI_API_KEY=sk-secret SOMETHING=else "$AGENTCTL" tool test env >out 2>err
out_has 'PATH='
out_has "HOME=$HOME"
out_has 'AGENT_EFFECT_ID='
out_lacks 'sk-secret'
out_lacks 'SOMETHING'

note 'an agent calls it'
run 0 create user -t env
run 0 run user '/tool env' --json
out_has 'AGENT_RUN_ID='
run 0 list calls --json
json_valid

note 'a tool that fails'
run 0 tool add fails --effect pure -- sh -c 'echo why >&2; exit 3'
run 1 tool test fails
says 'why'
run 1 tool test fails --json
json '$.status' failed
run 0 tool add slow --effect pure --timeout 200ms -- sleep 20
run 124 tool test slow

note 'arguments that do not fit'
run 0 tool add strict --schema '{"type":"object","required":["city"]}' --effect pure -- cat
run 0 tool test strict '{"city": "Rome"}'
"$AGENTCTL" tool test strict '{}' >out 2>err && bad 'a call without its argument was made'
err_has city

note 'mistakes'
run 3 tool test grete '{}'
says grete "did you mean 'greet'?"
run 2 tool add broken --exec "sh 'unclosed"
says 'not closed'
run 2 tool add both --exec true -- true
run 2 tool add none
run 2 tool add 'bad name' --exec true
says 'bad name'
run 2 tool add broken --schema '{' --exec true
run 3 create x -t calcc
says calcc "did you mean 'calc'?"

note 'removing'
run 2 tool rm calc -y
says builtin
run 2 tool rm strict
says '-y'
run 0 tool rm strict --dry-run
run 0 tool show strict
run 0 tool rm strict -y
run 3 tool show strict
