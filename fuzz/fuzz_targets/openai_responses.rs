//! Any bytes as an answer over `openai-responses`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oarlock_models::Wire;

fuzz_target!(|data: &[u8]| oarlock_fuzz::answer(Wire::OpenAiResponses, data));
