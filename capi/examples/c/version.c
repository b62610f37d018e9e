/* Prints the library's version; fails when header and library do not belong together. */
#include <bevfusion.h>
#include <stdio.h>

int main(void) {
  if (bev_abi_version() != BEV_ABI_VERSION) {
    fprintf(stderr, "header has ABI %u, library %u\n", BEV_ABI_VERSION, bev_abi_version());
    return 1;
  }
  printf("bevfusion %s\n", bev_version());
  return 0;
}
