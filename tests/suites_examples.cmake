# What the README shows is compiled and run, against the shared library as a user links it.
add_executable(example_embed examples/embed.c)
target_compile_features(example_embed PRIVATE c_std_17)
target_link_libraries(example_embed PRIVATE agent::agent)
if(AGENT_SANITIZE)
    target_link_options(example_embed PRIVATE -fsanitize=${AGENT_SANITIZE})
endif()
add_test(NAME example_embed COMMAND sh -c "d=$(mktemp -d) && cd $d && $<TARGET_FILE:example_embed>; rc=$?; rm -rf $d; exit $rc")
set_tests_properties(example_embed PROPERTIES PASS_REGULAR_EXPRESSION "You said: Hello")
