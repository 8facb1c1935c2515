# The command line, end to end: each script of tests/cli runs in a folder of its own against the
# agentctl that was built.
file(GLOB cli_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/*.sh)
list(REMOVE_ITEM cli_tests ${CMAKE_CURRENT_SOURCE_DIR}/cli/lib.sh)
foreach(script IN LISTS cli_tests)
    get_filename_component(name ${script} NAME_WE)
    add_test(NAME cli_${name} COMMAND sh ${script})
    set_tests_properties(cli_${name} PROPERTIES
        ENVIRONMENT "AGENTCTL=$<TARGET_FILE:agentctl>;SCRIPTED=${CMAKE_CURRENT_BINARY_DIR}/scripted_server"
        SKIP_RETURN_CODE 77 TIMEOUT 120)
endforeach()

agent_test(cli_text)
target_sources(test_cli_text PRIVATE ${PROJECT_SOURCE_DIR}/cli/text.c ${PROJECT_SOURCE_DIR}/cli/words.c)

agent_test(stats_view agent_engine)
foreach(name stats_chart stats_by stats_load svg svg_memory units out out_json rows table text words)
    target_sources(test_stats_view PRIVATE ${PROJECT_SOURCE_DIR}/cli/${name}.c)
endforeach()
