//! Any bytes as an answer over `openai-chat`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oarlock_models::Wire;

fuzz_target!(|data: &[u8]| oarlock_fuzz::answer(Wire::OpenAiChat, data));
