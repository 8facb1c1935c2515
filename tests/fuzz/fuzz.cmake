# agent_fuzz(name corpus layers...): tests/fuzz/fuzz_<name>.c defines LLVMFuzzerTestOneInput.
#
# Always: its corpus (tests/data/<corpus>/) as an ordinary test, with every split and mutation that
# standalone.c makes. With -DAGENT_FUZZ=ON (clang): the real fuzzer, as fuzz_<name>.
include_guard()

function(agent_fuzz name corpus)
    add_executable(fuzz_${name}_corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_${name}.c
                                       ${PROJECT_SOURCE_DIR}/tests/fuzz/standalone.c)
    target_link_libraries(fuzz_${name}_corpus PRIVATE ${ARGN} agent_base agent_flags)
    add_test(NAME fuzz_${name}_corpus
             COMMAND fuzz_${name}_corpus ${PROJECT_SOURCE_DIR}/tests/data/${corpus})
    if(AGENT_FUZZ)
        add_executable(fuzz_${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_${name}.c)
        target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        target_link_libraries(fuzz_${name} PRIVATE ${ARGN} agent_base agent_flags)
    endif()
endfunction()
