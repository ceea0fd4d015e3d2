//! Recipes as settings, and what is refused.

use super::*;
use crate::train::data::Images;

fn images(count: usize, target: Target) -> Images {
    let each = [1, 4][usize::from(target == Target::Pixels)];
    let (pixels, labels) = (vec![0; count * 4], vec![0; count * each]);
    Images { height: 2, width: 2, channels: 1, pixels, labels, target, classes: 2 }
}

/// Checkpoints of before there were recipes note this text, and can be continued.
#[test]
fn the_demo_is_noted_as_ever() {
    let noted = |count, target| demo(&images(count, target), &Otherwise::default(), 1).recipe();
    let rest = "Augmentation { flip: true, shift: 0 }";
    let sgd = "Sgd { momentum: 0.9, weight_decay: 0.005, nesterov: true }";
    let cosine = "Cosine { peak: 0.05, warm_up: 50, steps: 800 }";
    assert_eq!(noted(8000, Target::Images), format!("{cosine} {sgd} {rest}"));
    let sgd = "Sgd { momentum: 0.9, weight_decay: 0.0005, nesterov: true }";
    let cosine = "Cosine { peak: 0.2, warm_up: 3, steps: 12 }";
    assert_eq!(noted(20, Target::Pixels), format!("{cosine} {sgd} {rest}"));
    assert_eq!(demo(&images(7, Target::Images), &Otherwise::default(), 1).batch, 7);
}

#[test]
fn the_default_is_the_papers() {
    let images = images(1024, Target::Images);
    let recipe = Recipe::of(Kind::Default, &images, &Otherwise::default());
    let settings = recipe.settings(&images, 1).expect("it has no part that there is not");
    assert_eq!((settings.batch, settings.steps), (256, 90 * 4));
    assert_eq!(settings.optimizer, Sgd { momentum: 0.9, weight_decay: 4e-5, nesterov: false }.into());
    for (at, rate) in [(0, 0.1), (30 * 4 - 1, 0.1), (30 * 4, 0.01), (90 * 4 - 1, 0.001)] {
        assert!((settings.schedule.rate(at) / rate - 1.0).abs() < 1e-12, "step {at}");
    }
    let again: Recipe = serde_json::from_str(&settings.note).expect("a recipe");
    assert!(again == recipe && settings.recipe().ends_with(&settings.note), "it is kept: {}", settings.recipe());
}

#[test]
fn the_advanced_sets_what_the_paper_states() {
    let images = images(8192, Target::Images);
    let of = |otherwise: &Otherwise| Recipe::of(Kind::Advanced, &images, otherwise);
    let all = Otherwise { without: vec![Part::Distillation], ..Otherwise::default() };
    let settings = of(&all).settings(&images, 1).expect("it wants no teacher");
    assert_eq!((settings.batch, settings.steps, settings.smoothing), (2048, 400 * 4, 0.1));
    assert_eq!(settings.ema, Some(0.999_85));
    let shorter = of(&Otherwise { ema: Some(0.99), ..all.clone() }).settings(&images, 1).expect("it wants no teacher");
    assert!(shorter.ema == Some(0.99) && shorter.recipe().contains(" averaged 0.99 "), "{}", shorter.recipe());
    let neither = Otherwise { ema: Some(0.99), without: vec![Part::Distillation, Part::Ema], ..Otherwise::default() };
    assert_eq!(of(&neither).settings(&images, 1).expect("it wants no teacher").ema, None);
    assert_eq!(settings.augmentation.policy, Some(Reading::DeepVoltaire));
    let rule = RmsProp { decay: 0.9, momentum: 0.9, weight_decay: 1e-5, epsilon: 1e-3, tensorflow: true };
    assert_eq!(settings.optimizer, Rule::RmsProp(rule).into());
    for (at, rate) in [(0, 0.01), (10, 0.085), (20, 0.16), (24, 0.158), (400 * 4, 1.112_44e-3)] {
        assert!((settings.schedule.rate(at) / rate - 1.0).abs() < 1e-5, "step {at}");
    }
}

#[test]
fn who_learns_of_a_teacher_has_one() {
    let images = images(8192, Target::Images);
    let untaught = Otherwise::default();
    let advanced = Recipe::of(Kind::Advanced, &images, &untaught);
    let refused = advanced.settings(&images, 1).expect_err("there is no teacher").to_string();
    assert!(refused.contains("--teacher FILE") && refused.contains("`--without distillation`"), "{refused}");
    let teacher = |seed| {
        let network = crate::models::Network::named("resnet-small", 2).expect("a preset");
        let teacher = Teacher::of(network, [2, 2, 1], None, |parameter| Ok(parameter.initial(seed)));
        Some(Arc::new(teacher.expect("the images fit")))
    };
    let settings = advanced.taught(&images, 1, teacher(3)).expect("there is one");
    let distilled = settings.distillation.clone().expect("a part of the loss");
    assert_eq!((distilled.share, distilled.temperature), (0.8, 1.0));
    let (noted, digest) = (settings.recipe(), distilled.teacher.digest());
    let words = format!(
        " smoothing 0.1 averaged 0.99985 depth 0.9 dropout 0.2 distillation 0.8 temperature 1.0 teacher {digest:016x} {{"
    );
    assert!(noted.contains(&words), "{noted}");
    let other = advanced.taught(&images, 1, teacher(4)).expect("there is another");
    assert_ne!(other.recipe(), noted, "another teacher");
    let warm = Otherwise { temperature: Some(4.0), ..untaught };
    let warm = Recipe::of(Kind::Advanced, &images, &warm);
    assert!(warm.taught(&images, 1, teacher(3)).expect("it is warm").recipe().contains(r#""temperature":4.0"#));
    assert!(!noted.contains(r#""temperature""#), "what there was before is noted as it was");
    let demo = Recipe::of(Kind::Demo, &images, &Otherwise::default());
    assert_eq!(demo.taught(&images, 1, teacher(3)), Err(RecipeError::Unheard { kind: "demo" }));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let (few, pixels) = (images(20, Target::Images), images(20, Target::Pixels));
    let long = Otherwise { warm_up: Some(Span::Epochs(5)), ..Otherwise::default() };
    let refused = Recipe::of(Kind::Demo, &few, &long).settings(&few, 1);
    assert_eq!(refused, Err(RecipeError::WarmUp { warm_up: 5, steps: 5 }));
    let policy = Otherwise { augment: Some(Augment::Autoaugment), ..Otherwise::default() };
    let refused = Recipe::of(Kind::Demo, &pixels, &policy).settings(&pixels, 1);
    assert_eq!(refused, Err(RecipeError::Pixels));
    assert!(Recipe::of(Kind::Demo, &few, &policy).settings(&few, 1).is_ok());
}

#[test]
fn choices_say_whose_they_are() {
    let images = images(1024, Target::Images);
    let otherwise = Otherwise { batch: Some(128), without: vec![Part::Ema], ..Otherwise::default() };
    let choices = Recipe::of(Kind::Advanced, &images, &otherwise).choices();
    let of = |name| {
        let choice = choices.iter().find(|choice| choice.name == name).expect("a choice");
        (&choice.value[..], choice.published.as_deref())
    };
    assert_eq!(of("epochs"), ("400", Some("400")));
    assert_eq!(of("batch"), ("128", Some("2048")));
    assert_eq!(of("ema"), ("none", Some("0.99985")));
    assert_eq!(of("smoothing"), ("0.1", None));
    assert_eq!(of("schedule"), ("x 0.9875 every 1 epoch", Some("x 0.9875 every 1 epoch")));
    for kind in Kind::ALL {
        let known = Recipe::preset(kind, Target::Images).choices();
        let stated = known.iter().filter(|choice| choice.published.is_some());
        assert!(stated.clone().all(|choice| choice.published.as_ref() == Some(&choice.value)));
        assert_eq!(stated.count(), [0, 7, 12][kind as usize], "a name is misspelt");
    }
}
