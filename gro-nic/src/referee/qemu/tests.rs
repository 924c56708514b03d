use super::*;
#[test]
fn smoke() {
    let image = Image::parse(crate::LINUX_6_18).unwrap();
    let mut q = match Qemu::new(&Program::of(&image, Isa::Rv32imc).unwrap()) { Ok(q) => q, Err(e) => panic!("{e}") };
    let mut m = crate::machine::Machine::new(&image);
    for c in [&mut q as &mut dyn Core, &mut m] {
        let t = Instant::now();
        println!("{:?} {} {}", c.run(10000), c.instructions(), c.register(0x800));
        println!("{:?} {} {}", c.run(10000), c.instructions(), c.register(0x800));
        println!("{:?}", t.elapsed());
    }
}
