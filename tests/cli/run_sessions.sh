# A run answers; the next process finds the conversation where this one left it.
. "${0%/*}/lib.sh"

run 0 create demo

note 'an argument, stdin, a dash, a file'
run 0 run demo 'hello there'
out_has 'hello there'
err_empty
run_in 0 'from stdin
' run demo
out_has 'from stdin'
run_in 0 'from a dash' run demo -
out_has 'from a dash'
printf 'from a file\n' >prompt
run 0 run demo @prompt
out_has 'from a file'
[ "$(tail -c 1 out | od -An -c | tr -d ' ')" = '\n' ] || bad 'the answer does not end in a newline'

note 'the last newline is no part of the prompt'
run 0 list runs -n 1 --json
json '$[0].input' 'from a file'

note 'after -- a text is just that'
run 0 run demo -- --not-an-option
out_has '--not-an-option'
run 0 run demo -- @prompt
out_has '@prompt'

note 'a fixed answer'
run 0 run demo hi -o answer=fixed
out_is 'fixed'

note 'history arrives in the next process'
run 0 run demo 'my name is Ada' -S talk
run 0 run demo 'what is my name?' -S talk --json
json '$.status' succeeded
out_has 'Ada'
run 0 session show demo talk --json
json '$.turns' 2
json '$.messages' 4
json '$.transcript[0].text' 'my name is Ada'
json '$.transcript[3].role' assistant
run 0 run demo 'and again?' -c --json
out_has 'Ada'
talk=$(scratch "select json_extract('$(quoted out)', '\$.session')")
run 0 run demo 'by number' -S "#$talk" --json
json '$.session' "$talk"

note 'without a session a run has one of its own'
run 0 run demo 'what is my name?'
out_lacks 'Ada'

note 'the story of a run'
run 0 run demo 'hello' --json
number=$(scratch "select json_extract('$(quoted out)', '\$.run')")
run 0 show "$number"
out_has 'succeeded'
out_has 'hello'
run 0 show run "$number" --json
json '$.id' "$number"
json '$.status' succeeded
json '$.steps[0].kind' model
json_type '$.stages' array
run 0 logs "$number"
out_has 'queued'
run 0 logs "$number" --json
json_valid

note 'filters'
run 0 create other
run 7 run other hi -o fail=400 --json
run 0 list runs --agent other --json
json '$[0].status' failed
json_type '$[1]' missing
run 0 list runs --status failed --names
out_lines 1
run 0 list runs -n 3 --names
out_lines 3
run 3 list runs --agent nobody
says nobody
