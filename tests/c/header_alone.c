/* The header needs nothing before it, not even the standard ones. */
#include "svantic.h"

int main(void) {
    return svantic_abi_version() == SVANTIC_ABI_VERSION ? 0 : 1;
}
