//! Options as they act where they are left out.

use super::settings::{Line, Method, Noise, Settings};

impl Settings {
    /// The same with every option that its engine has; those without a number of their own stay out.
    pub fn used(&self) -> Settings {
        let mut s = self.clone();
        let frame_by_frame = matches!(s.name, Method::EPIE | Method::SDR);
        s.probe_update_start.get_or_insert(if frame_by_frame { 0 } else { 2 });
        if s.subspace_dim.is_some() {
            s.subspace_start.get_or_insert(0);
        }
        match s.name {
            Method::DM | Method::RAAR => {
                match s.name {
                    Method::DM => s.alpha.get_or_insert(1.0),
                    _ => s.beta.get_or_insert(0.75),
                };
                s.probe_support.get_or_insert(0.7);
                if s.fourier_power_bound.is_none() {
                    s.fourier_relax_factor.get_or_insert(0.05);
                }
                s.overlap_max_iterations.get_or_insert(10);
                s.overlap_converge_factor.get_or_insert(0.05);
                s.update_object_first.get_or_insert(true);
                s.object_inertia.get_or_insert(1e-4);
                s.probe_inertia.get_or_insert(1e-9);
            }
            Method::EPIE => {
                s.alpha.get_or_insert(1.0);
                s.beta.get_or_insert(1.0);
                s.object_norm_is_global.get_or_insert(false);
                s.batch.get_or_insert(1);
            }
            Method::SDR => {
                s.sigma.get_or_insert(1.0);
                s.tau.get_or_insert(1.0);
                s.beta_probe.get_or_insert(0.1);
                s.beta_object.get_or_insert(0.9);
                s.batch.get_or_insert(1);
            }
            Method::ML => {
                s.probe_support.get_or_insert(0.7);
                s.ml_type.get_or_insert(Noise::Gaussian);
                s.floating_intensities.get_or_insert(false);
                s.intensity_renormalization.get_or_insert(1.0);
                s.reg_del2.get_or_insert(false);
                s.reg_del2_amplitude.get_or_insert(0.01);
                s.smooth_gradient.get_or_insert(0.0);
                s.smooth_gradient_decay.get_or_insert(0.0);
                s.scale_precond.get_or_insert(s.subspace_dim.is_some());
                s.scale_probe_object.get_or_insert(1.0);
                s.wavefield_precond.get_or_insert(false);
                s.wavefield_delta_object.get_or_insert(0.1);
                s.wavefield_delta_probe.get_or_insert(0.1);
                s.poly_line_coeffs.get_or_insert(Line::Quadratic);
            }
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, example};
    use crate::num::alone;

    #[test]
    fn engines_do_the_same_when_told_what_they_use() {
        let plain =
            [Method::DM, Method::RAAR, Method::EPIE, Method::SDR, Method::ML].map(|m| Settings::new(m, 4));
        // Options that act only beside others.
        let further = [
            Settings {
                scale_precond: Some(true),
                wavefield_precond: Some(true),
                ..Settings::new(Method::ML, 4)
            },
            Settings { reg_del2: Some(true), ..Settings::new(Method::ML, 4) },
            Settings { subspace_dim: Some(2), ..Settings::new(Method::DM, 4) },
            Settings { subspace_dim: Some(2), ..Settings::new(Method::ML, 4) },
        ];
        for settings in plain.into_iter().chain(further) {
            assert_eq!(settings.used().faults(), Vec::<String>::new());
            let run = |settings: &Settings| {
                let mut model = example();
                let mut engine = Engine::new(settings, model.n(), 1e-8, 3);
                let all = vec![true; model.frames.len()];
                engine.added(&mut model, &all).unwrap();
                for _ in 0..4 {
                    engine.iterate(&mut model, &alone, true).unwrap();
                }
                (model.object.modes, model.probe.modes)
            };
            assert!(run(&settings) == run(&settings.used()), "{settings:?}");
        }
    }
}
