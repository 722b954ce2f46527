//! Changing an input: bits, numbers, pieces. What is to hold again afterwards (lengths, checksums)
//! is the target's to repair.

use crate::dice::Dice;

/// Changes made to one input at most.
const CHANGES_MAX: usize = 6;
/// Longest piece that is made up, bytes.
const MADE_UP_MAX: usize = 32;

/// Numbers at which lengths, counts and times turn.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    15,
    16,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x00ff_ffff,
    0x4000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Changes `input` in place; pieces come from `other`, and `words` are what the format knows.
pub(crate) fn mutate(
    dice: &mut Dice,
    input: &mut Vec<u8>,
    other: &[u8],
    words: &[&[u8]],
    bytes_max: usize,
) {
    for _ in 0..dice.small(CHANGES_MAX) {
        change(dice, input, other, words);
    }
    input.truncate(bytes_max);
}

fn change(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = dice.below(input.len() + 1);
    match dice.below(12) {
        0 | 1 => flip(dice, input),
        2 => add(dice, input),
        3 | 4 => number(dice, input, at),
        5 => varint(dice, input, at),
        6 => {
            let count = dice.small(input.len());
            input.drain(at..input.len().min(at + count));
        }
        7 => input.truncate(at),
        8 => {
            let piece = piece(dice, input);
            insert(input, at, &piece);
        }
        9 => {
            let made_up: Vec<u8> = (0..dice.small(MADE_UP_MAX)).map(|_| dice.byte()).collect();
            put(dice, input, at, &made_up);
        }
        10 => {
            let piece = piece(dice, other);
            put(dice, input, at, &piece);
        }
        _ => match dice.pick(words) {
            Some(word) => put(dice, input, at, word),
            None => flip(dice, input),
        },
    }
}

fn flip(dice: &mut Dice, input: &mut [u8]) {
    let at = dice.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << dice.below(8);
    }
}

/// Makes a byte a little larger or smaller.
fn add(dice: &mut Dice, input: &mut [u8]) {
    let at = dice.below(input.len());
    let by = i8::try_from(dice.small(16)).unwrap_or(1);
    let by = if dice.chance(50) { by } else { -by };
    if let Some(byte) = input.get_mut(at) {
        *byte = byte.wrapping_add_signed(by);
    }
}

/// Writes a number of 1, 2, 4 or 8 bytes over what is there.
fn number(dice: &mut Dice, input: &mut [u8], at: usize) {
    let number = dice.pick(&NUMBERS).copied().unwrap_or(0);
    let width = 1 << dice.below(4);
    let mut bytes = number.to_le_bytes()[..width].to_vec();
    if dice.chance(50) {
        bytes.reverse();
    }
    for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
        *place = byte;
    }
}

/// Puts a number of seven bits a byte, the lowest first, in the place of a byte.
fn varint(dice: &mut Dice, input: &mut Vec<u8>, at: usize) {
    let mut number = dice.pick(&NUMBERS).copied().unwrap_or(0);
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    let end = input.len().min(at + 1);
    input.splice(at..end, bytes);
}

/// Some bytes of `from`.
fn piece(dice: &mut Dice, from: &[u8]) -> Vec<u8> {
    let at = dice.below(from.len() + 1);
    let count = dice.small(from.len());
    from[at..from.len().min(at + count)].to_vec()
}

/// Puts bytes in, or over what is there.
fn put(dice: &mut Dice, input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if dice.chance(50) {
        insert(input, at, bytes);
    } else {
        let end = input.len().min(at + bytes.len());
        input.splice(at..end, bytes.iter().copied());
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
