//! Pictures as torchvision's evaluation transform sees them, to the bit; and files that are no pictures. No GPU.
#![cfg(feature = "images")]

#[allow(dead_code, reason = "other tests draw more")]
#[path = "torchvision/drawn.rs"]
mod drawn;

use std::path::Path;

use serde_json::Value;
use vistok::infer::Transform;
use vistok::picture::Picture;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn bytes(told: &Value) -> Vec<u8> {
    told.as_array().into_iter().flatten().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
}

fn pair(told: &Value) -> [usize; 2] {
    [&told[0], &told[1]].map(|size| size.as_u64().unwrap_or(0) as usize)
}

#[test]
fn views_are_those_of_torchvision_to_the_bit() -> Outcome {
    let told = drawn::told("pictures")?;
    let views = told["views"].as_array().ok_or("no views")?;
    assert_eq!(views.len(), 4);
    for told in views {
        let size = pair(&told["picture"]);
        let noise = drawn::between(&format!("picture {} {}", size[0], size[1]), size[0] * size[1] * 3, [0.0, 256.0]);
        let picture = Picture { size, channels: 3, pixels: noise.into_iter().map(|number| number as u8).collect() };
        let resize = told["resize"].as_u64().ok_or("no size")? as usize;
        let mut transform = Transform { resize, ..Transform::imagenet(pair(&told["crop"]), 3) };
        let view = transform.view(&picture)?;
        assert_eq!(view.pixels, bytes(&told["pixels"]), "{size:?} behind a resize to {resize}");
        let numbers = transform.numbers(&view);
        let expected = told["numbers"].as_array().ok_or("no numbers")?;
        assert!(expected.len() == 96 && numbers.len() == view.pixels.len());
        for (number, told) in numbers.iter().zip(expected) {
            let told = told.as_f64().ok_or("no number")?;
            assert!((f64::from(*number) - told).abs() < 1e-6, "{number} and {told}");
        }
        transform.channels = 1;
        let gray = transform.view(&picture)?.pixels;
        assert_eq!(gray[..64], bytes(&told["gray"]));
        assert_eq!(Some(gray.iter().map(|&byte| u64::from(byte)).sum()), told["gray_sum"].as_u64());
    }
    Ok(())
}

/// Every 30th row, as Pillow decodes them.
fn rows(picture: &Picture) -> Vec<u8> {
    let row = picture.size[1] * picture.channels;
    picture.pixels.chunks(row).step_by(30).flatten().copied().collect()
}

#[test]
fn files_are_decoded_as_pillow_does() -> Outcome {
    let told = drawn::told("pictures")?;
    let png = Picture::open(&drawn::beside("waves.png"))?;
    assert_eq!((png.size, png.channels), ([91, 123], 3));
    assert_eq!(rows(&png), bytes(&told["waves"]));
    let gray = Picture::open(&drawn::beside("gray.png"))?;
    let green: Vec<u8> = png.pixels.chunks(3).flat_map(|pixel| [pixel[1]; 3]).collect();
    assert_eq!(gray.pixels, green, "a gray file is read as three equal channels");
    let jpeg = Picture::open(&drawn::beside("waves.jpg"))?;
    assert_eq!(jpeg.size, pair(&told["jpeg"]["size"]));
    // Two decoders may round a cosine transform differently; a wrong one is off by tens.
    let (ours, theirs) = (rows(&jpeg), bytes(&told["jpeg"]["rows"]));
    assert_eq!(ours.len(), theirs.len());
    let worst = ours.iter().zip(&theirs).map(|(one, other)| one.abs_diff(*other)).max();
    assert!(worst <= Some(3), "{worst:?}");
    Ok(())
}

/// The head of a PNG file of this size, with the checksum that it needs, and not a byte of pixels.
fn hollow(width: u32, height: u32) -> Vec<u8> {
    let chunk = [&b"IHDR"[..], &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let checksum = !chunk.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    });
    let data = [0, 0, 0, 0, b'I', b'D', b'A', b'T', 0x35, 0xaf, 0x06, 0x1e];
    [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &chunk, &checksum.to_be_bytes(), &data].concat()
}

#[test]
fn files_that_are_no_pictures_are_named() -> Outcome {
    let [png, jpeg] = ["waves.png", "waves.jpg"].map(|name| std::fs::read(drawn::beside(name)));
    let (png, jpeg) = (png?, jpeg?);
    let cases = [
        ("empty", vec![]),
        ("text", b"once upon a time".to_vec()),
        ("cut.png", png[..png.len() / 2].to_vec()),
        ("headless.png", png[8..].to_vec()),
        ("cut.jpg", jpeg[..100].to_vec()),
        ("gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec()),
        ("wide.png", hollow(20_000, 1)),
        ("high.png", hollow(1, 20_000)),
        ("16 gigabytes.png", hollow(u32::MAX >> 1, u32::MAX >> 1)),
        ("700 megabytes.png", hollow(16_000, 16_000)),
    ];
    for (name, bytes) in cases {
        let said = Picture::decode(name, &bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(name) && said.contains("PNG and JPEG of at most"), "{name}: `{said}`");
    }
    let absent = Picture::open(Path::new("/nowhere.png")).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(absent.contains("/nowhere.png"), "{absent}");
    Ok(())
}
