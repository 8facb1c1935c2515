# Benches of the front cache alone: the paper's tables, policies over made traces, what a hit costs.
# Included from bench/CMakeLists.txt.
add_library(bench_traces STATIC traces.c)
target_link_libraries(bench_traces PUBLIC agent_cache m)
foreach(name cache_paper cache_trace cache_speed)
    add_executable(${name} ${name}.c)
    target_link_libraries(${name} PRIVATE bench_traces agent_cache)
endforeach()
target_link_libraries(cache_speed PRIVATE PkgConfig::SQLITE)

# And those of the cache before a file, in agent-bench's table.
target_sources(agent-bench PRIVATE cache_coherence.c cache_end_to_end.c cache_warm.c)
target_link_libraries(agent-bench PRIVATE bench_traces agent_cache)
