//! Bounds-checked reading of a pickle's bytes.

use super::{PickleError, PickleProblem};

/// Where a pickle is being read.
pub(super) struct Bytes<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// An error at the present position.
    pub(super) fn error(&self, problem: PickleProblem) -> PickleError {
        PickleError {
            offset: self.at,
            problem,
        }
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], PickleError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or_else(|| self.error(PickleProblem::Truncated))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.first_chunk() else {
            return Err(self.error(PickleProblem::Truncated));
        };
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, PickleError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, PickleError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, PickleError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, PickleError> {
        self.array().map(u64::from_le_bytes)
    }

    /// What stands before the next line feed, which is consumed.
    pub(super) fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| self.error(PickleProblem::Truncated))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }
}
