/* The header may be included twice. */
#include "svantic.h"
#include "svantic.h"

int main(void) {
    return svantic_abi_version() == SVANTIC_ABI_VERSION ? 0 : 1;
}
