//! The NIC's program with the rules of profile `linux-7.x`.
#![no_std]
#![no_main]

#[path = "../program.rs"]
mod program;

type Rules = gro_core::Linux7;
