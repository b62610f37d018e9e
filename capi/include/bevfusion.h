/* bevfusion-rt: C ABI. See docs/ and the Rust crate `bevfusion`. */
#ifndef BEVFUSION_H
#define BEVFUSION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ABI generation that this header describes. */
#define BEV_ABI_VERSION 1u

/* ABI generation of the loaded library; must equal BEV_ABI_VERSION. Any thread. */
uint32_t bev_abi_version(void);

/* Version of the loaded library, NUL-terminated, valid as long as the library is loaded. Any thread. */
const char *bev_version(void);

#ifdef __cplusplus
}
#endif

#endif
