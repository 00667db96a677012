/* The other translation unit; see header_unit_one.c. */
#include "svantic.h"

uint32_t abi_version_seen_by_the_other_unit(void);

uint32_t abi_version_seen_by_the_other_unit(void) {
    return svantic_abi_version();
}
