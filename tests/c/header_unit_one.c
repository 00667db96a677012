/* The header defines nothing that two translation units could both define. */
#include "svantic.h"

uint32_t abi_version_seen_by_the_other_unit(void);

int main(void) {
    return abi_version_seen_by_the_other_unit() == svantic_abi_version() ? 0 : 1;
}
