"""What an exercise cell calls: it says what is right, or what is wrong and why.

    from minimistral.course.checks import lesson_04 as check
    check.mask(my_mask)

A check prints one line that begins with ☐ (not written yet), ✗ (wrong) or ✓ (right). It
never raises, and the same answer always gets the same line.
"""
