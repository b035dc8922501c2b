//! Choosing the model.
