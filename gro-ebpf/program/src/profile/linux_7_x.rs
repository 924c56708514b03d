//! The tc program with the rules of profile `linux-7.x`.
#![no_std]
#![no_main]

#[path = "../program.rs"]
pub mod program;

type Rules = gro_core::Linux7;
