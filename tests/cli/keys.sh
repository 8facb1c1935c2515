# Keys: from the environment or a file that only its owner reads; nowhere else are they written.
. "${0%/*}/lib.sh"

run 0 create far -m openai:x --base-url http://127.0.0.1:1/v1 -o retries=0 --key-env MY_KEY
mkdir -p "$HOME/.config/agentctl"

note 'none'
run 7 run far hi
says MY_KEY

note 'a file that others can read'
printf '# a comment\n\nexport OTHER="x"\nMY_KEY=sk-from-file\n' >"$HOME/.config/agentctl/keys"
chmod 644 "$HOME/.config/agentctl/keys"
run 7 run far hi
err_has 0644
err_has 'chmod 600'
run 1 doctor
out_has 'chmod 600'

note 'a private one'
chmod 600 "$HOME/.config/agentctl/keys"
run 7 run far hi --timeout 20s
err_lacks 'MY_KEY'
"$AGENTCTL" doctor >out 2>err
out_has 'MY_KEY'
out_has 'keys file'
out_lacks sk-from-file

note 'nowhere written'
run 7 run far hi --trace-log debug --jsonl
cat "$AGENTCTL_DB"* out err | grep -aq sk-from-file && bad 'the key was written down'
:
