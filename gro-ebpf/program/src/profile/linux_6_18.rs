//! The tc program with the rules of profile `linux-6.18`.
#![no_std]
#![no_main]

#[path = "../program.rs"]
pub mod program;

type Rules = gro_core::Linux618;
