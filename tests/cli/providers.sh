# Providers that misbehave: the error says what they said, the exit code is 7, the run is kept.
. "${0%/*}/lib.sh"

note 'no key'
run 0 create far -m openai:gpt-test
run 7 run far hi
says OPENAI_API_KEY
run 0 create claude -m anthropic:claude-test
run 7 run claude hi --jsonl
says ANTHROPIC_API_KEY
last_line
json_in last '$.error.code' EKEY

note 'nobody there'
run 0 create nobody -m openai:x --base-url http://127.0.0.1:1/v1 -o retries=0
export OPENAI_API_KEY=sk-very-secret
run 7 run nobody hi --timeout 20s
says 127.0.0.1

# answer NAME CODE TEXT: one agent for one script
answer() {
    serve --script "$1.script"
    run 0 create "$1" -m openai:x --base-url "$url/v1" -o retries=0
    run "$2" run "$1" hi --timeout 20s --jsonl
    grep -q '^agentctl: error: ' err || [ "$2" = 0 ] || bad 'no error'
    last_line
    json_in last '$.type' run.end
    unserve
}

script() { # script NAME DIRECTIVES, the body on stdin
    mkdir -p "$1.script"
    { printf '%s\n' "$2"; cat; } >"$1.script/001.http"
}

note 'a wrong key'
printf '{"error":{"message":"Incorrect API key provided: sk-v***","type":"invalid_request_error"}}' |
    script e401 'status 401 type application/json'
answer e401 7
says 'Incorrect API key' OPENAI_API_KEY
json_in last '$.error.detail' 401

note 'a request it does not like'
printf '{"error":{"message":"max_tokens is too large"}}' | script e400 'status 400 type application/json'
answer e400 7
says 'max_tokens is too large'

note 'garbage, half a stream'
printf 'not a stream at all' | script garbage 'status 200 type text/event-stream'
answer garbage 7
printf 'data: {"choices":[{"delta":{"content":"half of"}}]}\n\n' |
    script half 'status 200 type text/event-stream cut'
answer half 7
json_in last '$.output' null

note 'a stream that does not end'
printf 'data: {"choices":[{"delta":{"content":"again and again "}}]}\n\n' |
    script endless 'status 200 type text/event-stream endless'
serve --script endless.script
run 0 create endless -m openai:x --base-url "$url/v1" -o retries=0
"$AGENTCTL" run endless hi --timeout 3s --json >out 2>err
case $? in 6 | 7 | 124) ;; *) bad "an endless stream answers $?" ;; esac
json '$.status' failed
unserve

note 'no key is written down'
run 0 list runs --json
cat "$dir"/agent.db* out err 2>/dev/null | grep -aq 'sk-very-secret' && bad 'the key was written down'

note 'a conversation with a server'
serve --chat
run 0 create chat -m openai:x --base-url "$url/v1"
run 0 run chat 'echo me'
out_has 'echo me'
run 0 run chat 'echo me' --no-stream
out_has 'echo me'
unserve
