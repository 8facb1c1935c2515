# The io layer: parsers, sockets, processes; and the server that others test against too.
include(${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.cmake)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl) # a TLS server to be refused by

add_library(scripted STATIC scripted_server.c)
target_link_libraries(scripted PUBLIC agent_flags)
add_executable(scripted_server scripted_main.c scripted_chat.c)
target_link_libraries(scripted_server PRIVATE scripted PkgConfig::JANSSON)

agent_test(sse agent_io)
agent_test(process agent_io)
add_library(http_kit STATIC http_kit.c)
target_link_libraries(http_kit PUBLIC agent_io scripted PkgConfig::CHECK)
agent_test(http http_kit)
agent_test(http_ends http_kit)
agent_test(http_tls http_kit PkgConfig::OPENSSL)
# The kit's getaddrinfo stands in for a slow resolver: libcurl, loaded later, must find it first.
set_target_properties(test_http test_http_ends PROPERTIES ENABLE_EXPORTS ON)
agent_fuzz(sse sse agent_io)
