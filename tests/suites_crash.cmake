# Processes that die: at each call of the disk, with the power gone, at random; more by `make soak`.
add_library(crash_kit STATIC crash_disk.c crash_model.c crash_work.c crash_check.c)
target_link_libraries(crash_kit PUBLIC agent_engine agent_flags PkgConfig::SQLITE)
agent_test(crash_points crash_kit)
agent_test(power crash_kit)
agent_test(crash_crowd crash_kit)

# kill -9 of agentctl at random instants.
add_test(NAME crash_rounds COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/crash_rounds.sh)
set_tests_properties(crash_rounds PROPERTIES TIMEOUT 600 ENVIRONMENT
    "AGENTCTL=$<TARGET_FILE:agentctl>;SCRIPTED=${CMAKE_CURRENT_BINARY_DIR}/scripted_server;ROUNDS=30")
