/*
 * Answers of a hostile server, as a stream and as one document: never a crash, and what comes out
 * is what the reply promises. See provider_target.h.
 */
#include "tests/fuzz/provider_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    return provider_target(&ag_provider_anthropic, bytes, n);
}
