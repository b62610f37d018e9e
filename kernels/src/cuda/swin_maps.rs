//! What the kernels of the camera backbone ask of the maps that they read and write.

use super::dense_conv::MapSlice;
use crate::driver::DriverError;

/// Bytes that a lane moves at once.
const WORD: u64 = 16;

/// Refuses a slice that does not hold `channels` of `rows` pixels, or whose pixels do not start at
/// multiples of 16 bytes.
pub(super) fn check_map(
    kernel: &'static str,
    map: &MapSlice<u16>,
    rows: usize,
    channels: usize,
) -> Result<(), DriverError> {
    let aligned = map.channel.is_multiple_of(8)
        && map.pitch.is_multiple_of(8)
        && map.data.address().is_multiple_of(WORD);
    let fits = map.channel + channels <= map.pitch
        && rows
            .checked_mul(map.pitch)
            .is_some_and(|n| n <= map.data.len());
    if aligned && fits && u32::try_from(rows).is_ok() && u32::try_from(map.pitch).is_ok() {
        return Ok(());
    }
    let (first, pitch, len) = (map.channel, map.pitch, map.data.len());
    let problem = format!(
        "channels {first}..{} of {rows} pixels in a map of pitch {pitch} and {len} elements",
        first + channels
    );
    Err(DriverError::Arguments { kernel, problem })
}

/// Address of a slice's first channel.
pub(super) const fn address_of(map: &MapSlice<u16>) -> u64 {
    map.data.address() + 2 * map.channel as u64
}
