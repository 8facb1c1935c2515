# Limits: one table, kept in the file, named by the errors they give.
. "${0%/*}/lib.sh"

run 0 create demo
run 0 limits
out_has 'retries'
out_has 'endpoint_concurrency'
run 0 limits show max_steps --json
json '$[0].value' 25
run 0 limits set max_steps 1
run 0 limits show max_steps --json
json '$[0].value' 1
json '$[0].default' 25
run 6 run demo '/tool calc {"expression": "1"}'
err_has 'max_steps'
run 0 limits reset max_steps
run 0 run demo '/tool calc {"expression": "1"}'
run 0 limits set first_byte_ms 5m
run 0 limits show first_byte_ms --json
json '$[0].value' 300000

note 'bad ones'
run 3 limits set no_such_limit 1
run 3 limits show no_such_limit
run 2 limits set input_bytes 5
err_has 'fixed'
run 2 limits set retries 1000
err_has 'not within 0 and 100'
run 2 limits set retries many

note 'the queue has an end, and says which'
run 0 limits set queued_runs 2
run 0 run -d demo one
run 0 run -d demo two
run 9 run -d demo three
err_has 'queued_runs'
err_has 'agentctl work'
run 0 run demo 'not queued'
run 0 work --until-idle
run 0 run -d demo three
