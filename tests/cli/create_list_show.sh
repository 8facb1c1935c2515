# Agents are made, listed, shown, changed; what is data goes to stdout and what is said about it to stderr.
. "${0%/*}/lib.sh"

note 'a new agent'
run 0 create demo
out_empty
err_has 'created agent demo (version 1)'

note 'the file is private'
[ "$(stat -c %a "$AGENTCTL_DB")" = 600 ] || bad "the mode of the file is $(stat -c %a "$AGENTCTL_DB")"

note 'a name that is taken'
run 2 create demo
says demo --replace
run 0 create demo --if-not-exists -q
err_empty

note 'all of it as JSON'
run 0 create poet -m openai:gpt-4o-mini -s 'Answer in rhyme.' -t calc -t now -o temperature=0.5 -o stop=END \
    --base-url http://127.0.0.1:9/v1 --key-env MY_KEY --max-steps 7 --json
json '$.name' poet
json '$.version' 1
err_empty
run 0 show poet --json
json_valid
json '$.name' poet
json '$.provider' openai
json '$.model' gpt-4o-mini
json '$.config.model' openai:gpt-4o-mini
json '$.config.instructions' 'Answer in rhyme.'
json '$.config.tools[1]' now
json '$.config.options.temperature' 0.5
json '$.config.options.stop' END
json '$.config.max_steps' 7

note 'what show prints, create -f reads'
scratch "select json_extract('$(quoted out)', '\$.config')" >agent.json
run 0 create copy -f agent.json
run 0 show copy --json
json '$.config.instructions' 'Answer in rhyme.'
json '$.config.tools[0]' calc

note 'flags go before the file, and the name may stand in it'
run_in 0 '{"name": "filed", "model": "offline:demo", "instructions": "from the file"}' create -f - -s 'from the flag'
run 0 show filed
out_has 'from the flag'
out_lacks 'from the file'

note 'instructions from a file'
printf 'line one\nline two\n' >text
run 0 create longer -s @text
run 0 show longer
out_has 'line one'
out_has 'line two'

note 'a list'
run 0 list
out_has 'demo'
out_has 'poet'
err_empty
run 0 list agents --names
out_is "demo
poet
copy
filed
longer"
run 0 list -n 2 --names
out_lines 2
run 0 list --json
json '$[0].name' demo
json '$[0].last_run_at' null
json '$[1].provider' openai

note 'edit makes a version and keeps the rest'
run 0 edit poet -o temperature=0.9 -o stop=null
err_has 'version 2'
run 0 show poet --json
json '$.version' 2
json '$.config.options.temperature' 0.9
json_type '$.config.options.stop' missing
json '$.config.instructions' 'Answer in rhyme.'
json '$.config.model' openai:gpt-4o-mini
run 2 edit poet
says 'nothing to change'
run 3 edit poett -s x
says 'poett' "did you mean 'poet'?"

note 'replace makes a version from nothing'
run 0 create poet --replace
run 0 show poet --json
json '$.version' 3
json '$.provider' offline
json_type '$.config.instructions' missing

note 'no tools at all'
run 0 create bare --no-tools --json
run 0 show bare --json
json '$.tools' '[]'
run 0 show demo --json
json_type '$.tools' null
