fn main() {
    let path = std::env::args().nth(1).unwrap();
    let t = std::time::Instant::now();
    let loaded = keyrx_config::load(std::path::Path::new(&path));
    let t = t.elapsed();
    for d in &loaded.diagnostics { println!("{d}"); }
    println!("keymap: {} files {:?} in {:?}", loaded.keymap.is_some(), loaded.files, t);
}
