# Memory: set by hand, read by the agent in its next run, searched, forgotten.
. "${0%/*}/lib.sh"

run 0 create demo

note 'set and listed'
run 0 memory set demo colour 'Her favourite colour is blue'
out_empty
err_has colour
run 0 memory set demo 'A note without a key'
run 0 memory ls demo --json
json '$[0].key' colour
json '$[0].text' 'Her favourite colour is blue'
json_type '$[1].key' text

note 'a second time replaces'
run 0 memory set demo colour 'Her favourite colour is green'
run 0 memory ls demo --json
json '$[0].text' 'Her favourite colour is green'
json_type '$[2]' missing

note 'from a file and from stdin'
printf 'words from a file\n' >text
run 0 memory set demo file @text
run_in 0 'words from stdin' memory set demo stdin -
run 0 memory search demo words --json
json_type '$[1]' object
json_type '$[2]' missing

note 'the agent is told'
run 0 run demo 'what do you know?'
out_has green

note 'the agent remembers by itself'
run 0 run demo '/tool remember {"key": "city", "text": "She lives in Rome"}'
run 0 memory search demo Rome --json
json '$[0].key' city
run 0 run demo 'and now?'
out_has Rome

note 'forgotten'
run 2 memory rm demo colour
says -y
run 0 memory rm demo colour --dry-run
run 0 memory rm demo colour -y
run 0 memory search demo green --json
out_is '[]'
run 3 memory rm demo colour -y
says colour

note 'mistakes'
run 3 memory set nobody k v
says nobody demo
run 3 memory ls nobody
run 2 memory set demo k ''
run 2 memory set demo
