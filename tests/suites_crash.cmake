# kill -9 at random instants; more rounds by `make soak`.
add_test(NAME crash_rounds COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/crash_rounds.sh)
set_tests_properties(crash_rounds PROPERTIES TIMEOUT 600 ENVIRONMENT
    "AGENTCTL=$<TARGET_FILE:agentctl>;SCRIPTED=${CMAKE_CURRENT_BINARY_DIR}/scripted_server;ROUNDS=50")
