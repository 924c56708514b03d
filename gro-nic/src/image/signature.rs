//! SIG: who vouches for an image. The signature (ed25519) is over the image id, which covers everything else.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use thiserror::Error;

use super::layout::{header, signature};
use super::table::bytes32;
use super::{Hex, Image, ImageError};

/// Why an image is not vouched for by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Nobody signed it.
    #[error("the image is not signed")]
    Unsigned,
    /// Somebody else signed it.
    #[error("the image is signed with key {signer}, which is not the one asked for")]
    OtherKey {
        /// Public key that it is signed with.
        signer: Hex<32>,
    },
}

/// The key that an image is signed with; `None` for an empty slot. A slot that is not empty must hold a signature of `id`.
pub(super) fn read(section: &[u8], id: &[u8; 32]) -> Result<Option<[u8; 32]>, ImageError> {
    let refuse = |why| Err(ImageError::Signature { why });
    if section.len() != signature::SIZE {
        return refuse("the slot has 128 bytes");
    }
    if section.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    if section[signature::RESERVED..].iter().any(|&byte| byte != 0) {
        return refuse("reserved bytes set");
    }
    let key = bytes32(section, signature::KEY);
    let Ok(verifier) = VerifyingKey::from_bytes(&key) else {
        return refuse("its key is no ed25519 public key");
    };
    let Ok(signed) = Signature::from_slice(&section[signature::SIGNATURE..signature::RESERVED]) else {
        return refuse("not an ed25519 signature");
    };
    match verifier.verify_strict(id, &signed) {
        Ok(()) => Ok(Some(key)),
        Err(_) => refuse("not one of this image by the key beside it"),
    }
}

/// The image with a signature by `secret` (32 bytes, an ed25519 seed) in its slot; its id does not change.
///
/// # Errors
/// What [`Image::parse`] says of `file`.
pub fn sign(file: &[u8], secret: &[u8; 32]) -> Result<Vec<u8>, ImageError> {
    Image::parse(file)?;
    let key = SigningKey::from_bytes(secret);
    let signed = key.sign(&bytes32(file, header::ID)).to_bytes();
    let mut file = file.to_vec();
    // The slot is the last section of an image, and fills its lines.
    let slot = file.len() - signature::SIZE;
    file[slot + signature::KEY..][..32].copy_from_slice(key.verifying_key().as_bytes());
    file[slot + signature::SIGNATURE..][..64].copy_from_slice(&signed);
    Image::parse(&file)?;
    Ok(file)
}

/// The public half of `secret`.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}
