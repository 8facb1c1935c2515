# Every bench at its smallest: it runs, and its answers are right. No figure is judged.
if(EXISTS ${PROJECT_SOURCE_DIR}/bench/CMakeLists.txt)
    add_test(NAME bench_smoke COMMAND ${CMAKE_BINARY_DIR}/bench/agent-bench all --quick --rounds 1 --json)
    add_test(NAME bench_soak COMMAND ${CMAKE_BINARY_DIR}/bench/agent-bench soak --quick --json)
endif()
agent_test(isolation agent_engine)
